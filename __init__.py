"""dvs-transfer: from raw event recordings and static images to a trained spiking network."""
