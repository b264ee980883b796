"""From what annotators say to the one box that training believes."""
