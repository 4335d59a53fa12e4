"""Reports: what the hotline, citizens, grid workers, leaders and other systems tell, beside the devices."""
