"""What happens on the stage. Each scenario takes a server and who is put to the test, and gives what went wrong."""
