"""What a run writes down: the metric contract, the line-per-update file, the console and the dashboards."""
