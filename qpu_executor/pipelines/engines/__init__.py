"""The engines that run a plan: Parsl and Dask, behind one small protocol."""
