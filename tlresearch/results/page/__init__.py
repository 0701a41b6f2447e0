"""The HTML page of `tlresearch report --format html`: one file, no network, numbers and charts of many runs."""
