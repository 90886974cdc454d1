"""The fuzzing of a whole service: any request, any endpoint, and what has to hold whatever they do."""
