"""What every pod needs. Nothing in here imports the inventory, a pod or a script."""
