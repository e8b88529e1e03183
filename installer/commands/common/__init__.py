"""What the commands of `install` share: session, verification of bundles, recovery, execution of plans."""
