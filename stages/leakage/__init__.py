"""Which image each recording was made of, which pictures look the same, and what of that training can reach."""
