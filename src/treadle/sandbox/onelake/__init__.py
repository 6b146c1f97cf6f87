"""OneLake on a folder: two wire dialects, DFS and Blob, over one tree of plain files that notebooks see as well."""
