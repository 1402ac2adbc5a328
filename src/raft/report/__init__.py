"""Pages of runs: each is one file that loads nothing; reads run folders, trains nothing."""
