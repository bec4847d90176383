"""Studies: many runs that one file describes, trained and evaluated where they are missing, shown in one table."""
