"""What the methods for Kubernetes share: the cluster of a host, its objects, and what its pods say."""
