"""The watcher pod: scans the source and keeps the inventory like it."""
