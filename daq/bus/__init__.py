"""The bus: the process through which every batch goes, and its clients."""
