"""Is the candidate as good as the reference? Parity is a tight yes or no, quality a budget with statistics."""
