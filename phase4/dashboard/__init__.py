"""What people look at: figures, pages and the read-only view of saved rehearsals. Nothing here decides anything."""
