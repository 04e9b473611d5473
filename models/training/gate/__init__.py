"""How the gate is trained: hands, pictures that are none, and pictures that are made up."""
