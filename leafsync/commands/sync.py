"""The commands that run the engine: `serve` and `connect`."""

import argparse
from typing import Any

from leafsync.config import Config, load_config
from leafsync.engine.core.options import ConnectOptions, ServeOptions
from leafsync.run import Session, run_job


def serve(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync serve`."""
    config = load_config(session.paths.config)
    options = ServeOptions(
        folder=arguments.folder,
        host=arguments.host,
        port=config.port if arguments.port is None else arguments.port,
        read_only=arguments.read_only,
        **_common(arguments, config),
    )
    return run_job(session, config, options.folder, lambda engine: engine.serve(options))


def connect(arguments: argparse.Namespace, session: Session) -> int:
    """`leafsync connect`."""
    config = load_config(session.paths.config)
    options = ConnectOptions(
        address=arguments.address,
        folder=arguments.folder,
        once=arguments.once,
        mode=arguments.mode,
        dry_run=arguments.dry_run,
        allow_deletes=arguments.allow_deletes,
        streams=config.streams if arguments.streams is None else arguments.streams,
        **_common(arguments, config),
    )
    return run_job(session, config, options.folder, lambda engine: engine.connect(options))


def _common(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    from leafsync.engine.net.identity import parse_fingerprint

    return {
        "file": arguments.file or "",
        "accept_first": arguments.accept_first,
        "fingerprint": None if arguments.fingerprint is None else parse_fingerprint(arguments.fingerprint),
        "rate_mbps": config.rate_mbps if arguments.rate_mbps is None else arguments.rate_mbps,
        "force": arguments.force,
        "reset": arguments.reset,
    }
