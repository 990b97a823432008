"""What Pons remembers: tables, one module of queries a subject, and the database they run on."""
