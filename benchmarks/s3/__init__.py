"""What listing a bucket costs."""
