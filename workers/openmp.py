"""How OpenMP's threads wait for each other. Read by libgomp when torch loads it, hence set before.

They spin while they wait, by default for so long that a training beside another busy process on two
cores was twenty times slower; not to spin at all costs a third of the speed when it is alone.
"""

OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}
