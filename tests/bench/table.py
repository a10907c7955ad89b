# SPDX-License-Identifier: MIT
"""All benchmarks but the long ones in turn, then one table. Names as arguments select: table.py requests tls. One that
fails is told, and the others go on."""
import sys
import traceback

import bench
import chain_bench
import debates_bench
import durable_bench
import everything_bench
import growth_bench
import h2_bench
import http_bench
import limits_bench
import nodes_bench
import reload_bench
import store_bench
import tls_bench
import ws_bench

ALL = {"requests": http_bench.requests, "pipeline": chain_bench.pipeline, "static": http_bench.static_files, "http2": h2_bench.http2, "tls": tls_bench.tls, "broadcast": ws_bench.broadcast, "across": ws_bench.across,
       "nodes": nodes_bench.broadcast, "takeover": nodes_bench.takeover,
       "sockets": ws_bench.idle, "idle": http_bench.idle, "routes": http_bench.routes, "limits": limits_bench.limits, "start": http_bench.start,
       "reload": reload_bench.storm, "debates": debates_bench.main,
       "thousand": durable_bench.thousand, "everything": everything_bench.everything, "late": durable_bench.late_subscriber, "stores": store_bench.main}
LONG = {"growth": growth_bench.growth}


def main(names):
    failed = []
    for name in names or ALL:
        try:
            (ALL | LONG)[name]()
        except (Exception, SystemExit) as e:
            if isinstance(e, SystemExit) and isinstance(e.code, int):
                raise
            traceback.print_exc()
            failed.append(name)
        finally:
            bench.stop_all()
    bench.table()
    if failed:
        sys.exit("failed: " + " ".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
