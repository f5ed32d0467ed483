"""The compute pod: Kubernetes Jobs for what was loaded, reconciled from rows of the inventory."""
