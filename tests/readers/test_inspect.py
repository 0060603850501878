import json

import numpy as np
import pytest

from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2
from exastorm.labels.plan import make_plan
from exastorm.labels.settings import LabelSettings
from exastorm.readers.archives import write_archive
from exastorm.readers.inspect import inspect_archive, sampled_steps
from exastorm.readers.jobs import DEMO_CHANNELS, possible_jobs
from exastorm.readers.schema import mock_dataset
from exastorm.variables import CHANNEL_NAMES

XYT = ("time", "lat", "lon")


def works(fields):
    return {job.name: job.works for job in possible_jobs(fields)}


def test_the_report_says_what_is_there(tmp_path, foreign):
    values = np.array([10.0, 20.0, 30.0])[:, None, None]
    dataset = foreign({"TMQ": (XYT, values, {"units": "mm"})}, num_times=3, calendar="360_day")
    dataset.to_netcdf(tmp_path / "a.nc")
    report = inspect_archive(tmp_path / "a.nc")
    assert (report.format, report.num_files, report.num_sampled) == ("cf", 1, 3)
    (field,) = report.fields
    assert (field.source_units, field.units) == ("mm", "kg m-2")
    assert (field.low, field.high) == (10.0, 30.0)
    assert field.mean == pytest.approx(20.0)
    assert field.missing_share == field.outside_share == 0.0
    assert (report.grid.num_lat, report.grid.num_lon) == (3, 4)
    assert report.grid.is_regular
    assert report.grid.is_global
    assert report.times.first == "2000-01-01 00:00:00"
    assert report.times.last == "2000-01-01 12:00:00"
    assert (report.times.step_hours, report.times.num_other_steps) == (6.0, 0)
    assert report.times.calendar == "360_day"
    assert report.missing == CHANNEL_NAMES[1:]


def test_the_text_has_the_same_facts(tmp_path, foreign):
    values = np.array([10.0, np.nan, 30.0, 20.0])
    fields = {
        "TMQ": (XYT, values, {"units": "mm"}),
        "PSL": (XYT, 1e5, {}),
        "PRECC": (XYT, 1e-8, {"units": "m/s"}),
        "PRECL": (XYT, 1e-8, {"units": "m/s"}),
    }
    foreign(fields, num_times=1).to_netcdf(tmp_path / "a.nc")
    text = inspect_archive(tmp_path / "a.nc").to_text()
    assert "taken for cf, 1 file" in text
    assert "3 x 4, 60 x 90 degrees, global; lat -60 to 60, lon 0 to 270" in text
    assert "1 time, 2000-01-01 00:00:00; calendar noleap" in text
    (row,) = [line for line in text.splitlines() if line.startswith("TMQ ")]
    cells = " ".join(row.split())
    assert cells == "TMQ TMQ mm kg m-2 10 20 30 -0.5 to 120 25.00 % missing, see notes"
    assert "PSL: has no units" in text
    assert "PRECT: convective plus large-scale" in text
    assert "yes  label atmospheric rivers" in text
    assert "needs PSL, U850, V850, T200, T500" in text


def test_means_are_over_area(tmp_path, foreign):
    # Polar bands are smaller than the middle one, so its 30 weighs more than a third.
    bands = np.array([10.0, 30.0, 10.0])[:, None]
    foreign({"TMQ": (XYT, bands, {"units": "mm"})}).to_netcdf(tmp_path / "a.nc")
    (field,) = inspect_archive(tmp_path / "a.nc").fields
    areas = cell_areas_km2(np.array([-60.0, 0.0, 60.0]), np.arange(4) * 90.0)[:, 0]
    assert field.mean == pytest.approx(np.average([10, 30, 10], weights=areas))
    assert field.mean > 50 / 3 + 1


def test_pressures_are_written_out(tmp_path):
    write_archive(mock_dataset({"PSL": 100910.0}, 5, 8, 2), tmp_path / "a.nc", "cam")
    text = inspect_archive(tmp_path / "a.nc").to_text()
    assert "100900  100900  100900   84000 to 112000" in text


@pytest.mark.parametrize(
    ("tmq", "cause"), [(np.nan, "holds no number at all"), (2e4, "units 'mm' can't be right")]
)
@pytest.mark.parametrize("steps", [[0], [1], [0, 1]])
def test_what_is_wrong_in_a_later_file_is_named(tmp_path, foreign, tmq, cause, steps):
    values = np.full((2, 1, 1), 20.0)
    foreign({"TMQ": (XYT, values, {"units": "mm"})}).to_netcdf(tmp_path / "a.nc")
    values[steps] = tmq
    later = foreign({"TMQ": (XYT, values, {"units": "mm"})}, start="2000-01-02")
    later.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match=cause) as raised:
        inspect_archive(tmp_path)
    assert raised.value.file == str(tmp_path / "b.nc")
    assert raised.value.variable == "TMQ"
    assert str(raised.value.time) == f"2000-01-02 {6 * steps[0]:02d}:00:00"


def test_uneven_steps_are_counted(tmp_path, foreign):
    dataset = foreign({"TMQ": (XYT, 20.0, {"units": "mm"})}, num_times=6).isel(time=[0, 1, 2, 5])
    dataset.to_netcdf(tmp_path / "a.nc")
    times = inspect_archive(tmp_path / "a.nc").times
    assert (times.step_hours, times.num_other_steps) == (6.0, 1)
    assert "every 6 h (but 1 other step)" in inspect_archive(tmp_path / "a.nc").to_text()


def test_the_dictionary_is_json(tmp_path):
    write_archive(mock_dataset({"TMQ": 20.0}, 5, 8, 2), tmp_path / "a.nc", "cam")
    report = inspect_archive(tmp_path / "a.nc").to_dict()
    again = json.loads(json.dumps(report))
    assert again["fields"][0]["name"] == "TMQ"
    assert again["jobs"][0] == {
        "name": "label atmospheric rivers (sc18)",
        "works": True,
        "missing": [],
        "remark": "",
    }


def test_times_are_sampled_evenly_with_both_ends():
    assert sampled_steps(3, 24) == [0, 1, 2]
    assert sampled_steps(101, 5) == [0, 25, 50, 75, 100]


def test_the_number_of_times_read_is_an_option(tmp_path):
    write_archive(mock_dataset({"TMQ": 20.0}, 5, 8, 10), tmp_path / "a.nc", "cam")
    assert inspect_archive(tmp_path / "a.nc", num_sampled=4).num_sampled == 4
    with pytest.raises(InputError, match="num_sampled must be at least 1, got 0"):
        inspect_archive(tmp_path / "a.nc", num_sampled=0)


def test_options_reach_the_reader(tmp_path):
    write_archive(mock_dataset({"TMQ": 20.0, "PSL": 1e5}, 5, 8, 2), tmp_path / "a.nc", "cam")
    report = inspect_archive(tmp_path / "a.nc", fields=["PSL"])
    assert [f.name for f in report.fields] == ["PSL"]


def test_bad_files_are_listed(tmp_path):
    write_archive(mock_dataset({"TMQ": 20.0}, 5, 8, 2), tmp_path / "a.nc", "cam")
    (tmp_path / "b.nc").touch()
    report = inspect_archive(tmp_path, skip_bad=True)
    assert report.bad_files == (f"{tmp_path / 'b.nc'}: is empty",)
    assert "Bad files, left out:" in report.to_text()


def test_jobs_follow_from_the_fields():
    assert works(["TMQ"])["label atmospheric rivers (sc18)"]
    assert not works(["TMQ"])["segment with the 5-channel network"]
    assert works(DEMO_CHANNELS)["segment with the 5-channel network"]
    optional = ("IVTX", "IVTY", "Z300", "Z500")
    assert all(works((*CHANNEL_NAMES, *optional)).values())
    lacking = [name for name, there in works(CHANNEL_NAMES).items() if not there]
    assert lacking == [
        "label atmospheric rivers (tempest, bard)",
        "label atmospheric rivers (guan_waliser)",
        "label tropical cyclones (tempest-era5)",
    ]
    assert not any(works([]).values())


def test_a_job_on_less_says_so():
    (job,) = [j for j in possible_jobs(["TMQ", "U850", "V850"]) if j.name == "vapor transport"]
    assert job.works
    assert job.remark == "with TMQ, U850, V850"


EVERYTHING = (*CHANNEL_NAMES, "IVTX", "IVTY", "Z300", "Z500", "U10", "V10")
CYCLONE_RULES = ("sc18", "teca", "tempest-cam", "tempest-era5")
RIVER_RULES = ("sc18", "tempest", "guan_waliser", "bard")


@pytest.mark.parametrize(
    "lacking", ["TMQ PRECT U850 V850", "PSL", "U850", "T200", "Z200 Z300", "IVTX"]
)
@pytest.mark.parametrize("rules", [*zip(CYCLONE_RULES, RIVER_RULES, strict=True)])
def test_labeling_is_possible_where_the_labels_say_it_is(lacking, rules):
    fields = [name for name in EVERYTHING if name not in lacking.split()]
    plan = make_plan(fields, LabelSettings(cyclones=rules[0], rivers=rules[1]), 0.25)
    said = {name: there for name, there in works(fields).items() if name.startswith("label")}
    (cyclones,) = [there for name, there in said.items() if "cyclones" in name and rules[0] in name]
    (rivers,) = [there for name, there in said.items() if "rivers" in name and rules[1] in name]
    assert cyclones == (plan.cyclones is not None)
    assert rivers == (plan.rivers is not None)


@pytest.mark.real_data
def test_a_real_model_with_a_wrong_unit_is_refused_and_read_when_told(real_file):
    # Its sea-level pressure was scaled by 100 once too often: 1e7, said to be Pa.
    path = real_file("gcm/exoplasim_t42_14days.nc")
    with pytest.raises(InputError, match=r"variable PSL.*'Pa' can't be right"):
        inspect_archive(path)
    report = inspect_archive(path, units=["PSL=cPa"])
    assert report.times.num_times == 56
    assert not report.grid.is_regular
    assert all(f.outside_share == 0.0 for f in report.fields)
    assert [job.name for job in report.jobs if not job.works] == [
        "label tropical cyclones (tempest-era5)",
        "segment with the 16-channel network",
    ]
