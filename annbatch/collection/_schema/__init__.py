"""What a collection will hold: the survey of its inputs, and how they are made to conform."""
