"""The manager itself: one inbox, one loop; dispatcher, admission, recovery, clock."""
