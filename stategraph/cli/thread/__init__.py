"""`stategraph thread`: the threads of a database, whatever program wrote them."""
