"""The report: plain data gathered from the stages' files, and one HTML page of it."""
