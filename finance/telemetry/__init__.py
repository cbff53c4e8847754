"""What a process says about itself: metric_list (every metric), prometheus (and log lines), health (HTTP)."""
