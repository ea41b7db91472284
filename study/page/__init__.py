"""The report: plain data gathered from the stages' files, and one self-contained HTML page of it."""
