"""File formats of event recordings, told apart by content and decoded in pieces, whatever data set they belong to."""
