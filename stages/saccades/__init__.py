"""Photos as an event camera would see them, drawn anew for every batch on the device where training runs."""
