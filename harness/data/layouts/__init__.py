"""How the files of a data set lie on disk, one layout a file: found, and read as arrays."""
