"""What a thief may do to weights: the removal suite, as pure functions and as tables of attempts."""
