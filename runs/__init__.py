"""What every script needs: flags, console, files, run records, devices, models and pairs opened."""
