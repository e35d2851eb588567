"""K-EXAONE (ExaoneMoE)."""
