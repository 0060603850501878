"""Staging over emulated nodes reads each byte of the shared store once, whatever nodes need."""

import json
import threading
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.performance.needs_fabric import needs_fabric

from exastorm.cli.benches.staging import staging_text
from exastorm.cli.main import main
from exastorm.performance.file_server import FileServer
from exastorm.performance.staging import StagingBenchSettings, bench_staging
from exastorm.performance.staging_sent import sent_by_server

SMALL = {"num_nodes": 3, "num_files": 6, "file_mb": 0.5, "store_mbit": 1000.0, "num_readers": 2}


@needs_fabric
@pytest.mark.parametrize(
    ("mode", "share", "needed"),
    # 3 nodes need all 6 files each; a part each; 2/3 of the files, which are 4, each.
    [("replicate", 1.0, 18), ("partition", 1.0, 6), ("sample", 2 / 3, 12)],
)
def test_each_byte_is_read_once_where_scripts_read_what_nodes_need(tmp_path, mode, share, needed):
    found = bench_staging(tmp_path, StagingBenchSettings(mode=mode, share=share, **SMALL))
    assert found["dataset_mb"] == pytest.approx(3.0)
    assert found["needed_mb"] == pytest.approx(needed * 0.5)
    assert found["staged"]["read_over_dataset"] == 1.0
    assert found["naive"]["read_over_dataset"] == pytest.approx(needed / 6)
    # What was needed and not read came from another node.
    assert found["sent_between_nodes_mb"] == pytest.approx((needed - 6) * 0.5)
    # 3 MB over a link of 1000 Mbit/s.
    assert found["read_bound_s"] == pytest.approx(0.024)
    assert found["staged"]["seconds"] > found["staged"]["bound_s"]
    assert len(staging_text(found).splitlines()) == 5
    assert list(tmp_path.iterdir()) == []


@needs_fabric
def test_figures_from_the_shell(tmp_path, capsys):
    words = [w for k, v in SMALL.items() for w in (f"--staging.{k.replace('_', '-')}", str(v))]
    main(["bench", "staging", "--folder", str(tmp_path), *words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["staged"]["read_over_dataset"] == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_nodes", 0),
        ("num_files", 0),
        ("num_readers", 0),
        ("num_transfers", 0),
        ("store_mbit", 0.0),
        ("node_mbit", -1.0),
        ("file_mb", 0.0),
        ("share", 1.5),
        ("mode", "all"),
    ],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=name):
        StagingBenchSettings(**{name: value})


def test_the_file_store_serves_its_folder_alone_and_counts(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "secret").write_bytes(b"no")
    (tmp_path / "store" / "a b").write_bytes(b"12345")
    with FileServer(tmp_path / "store", ("127.0.0.1", 0)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_address[1]}/"
        assert urlopen(root + "a%20b").read() == b"12345"
        for name in ("none", "../secret"):
            with pytest.raises(HTTPError, match="404"):
                urlopen(root + name)
        assert sent_by_server(root) == 5
        server.shutdown()
