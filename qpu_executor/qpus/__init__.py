"""Adapters: one small class per kind of QPU, all behind `base.QpuAdapter`."""
