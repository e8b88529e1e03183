"""Groups whose members can become root."""

ROOT_GROUPS = {
    "docker": "its members have the container engine: root on this host",
    "podman": "its members have the container engine: root on this host",
    "containerd": "its members have the container engine: root on this host",
    "microk8s": "its members have the container engine: root on this host",
    "lxd": "its members have the container engine: root on this host",
    "incus": "its members have the container engine: root on this host",
    "incus-admin": "its members have the container engine: root on this host",
    "libvirt": "its members can start machines with every file of the host",
    "disk": "its members read and write every disk",
    "kmem": "its members read the memory of the kernel",
    "shadow": "its members read the passwords of the host",
    "root": "the group of root",
    "0": "the group of root",
    "sudo": "its members may become root",
    "wheel": "its members may become root",
    "admin": "its members may become root",
}
"""Groups whose members can become root on common distributions, and how."""
