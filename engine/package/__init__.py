"""What people upload, opened safely: files of any kind in, the instances and metadata of one study out."""
