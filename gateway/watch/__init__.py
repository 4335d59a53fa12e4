"""What the gateway watches beside its own work: the ticket centre, the fleet, the disks."""
