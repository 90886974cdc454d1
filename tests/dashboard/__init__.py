"""The Grafana dashboard of the documentation: its tests, and the program that draws its picture from a real run."""
