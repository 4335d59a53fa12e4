"""Photos of reporters: sealed on the disk, shown to those who may read the words, deleted with the words."""
