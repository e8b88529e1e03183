"""Planning: compare the desired with the present state. Changes nothing."""
