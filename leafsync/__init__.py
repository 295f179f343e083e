"""LeafSync: peer-to-peer folder sync over QUIC, driven from a terminal."""

__version__ = "0.1.0"
