"""Link points and regions from one time to the next, for labels and storms alike."""
