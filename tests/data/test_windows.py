import pytest
from toy import ASSEMBLY, CHR20, PILOT

from avocado.config.values import as_list
from avocado.data.genome import Region, Segment
from avocado.data.windows import chosen_bins, windows
from avocado.errors import InputError

REGIONS = {"pilot": PILOT, "chr20": CHR20}


def only(place, regions=REGIONS):
    (window,) = windows(regions, ASSEMBLY, place)
    return window.source, window.layout.segments


def test_names_of_regions():
    assert only("pilot") == ("pilot", PILOT.segments)
    assert only("chr20") == ("chr20", CHR20.segments)


@pytest.mark.parametrize(
    ("place", "first", "end"),
    [("chr20:1-25", 0, 1), ("chr20:25-26", 0, 2), ("chr20:26-26", 1, 2), ("chr20:1,001-2,000", 40, 80)],
)
def test_places_count_from_one_and_both_ends_are_in(place, first, end):
    assert only(place) == ("chr20", (Segment("chr20", first, end),))


def test_a_place_past_the_end_is_cut_off():
    assert only("chr20:1-999,999,999") == ("chr20", CHR20.segments)


def test_a_place_in_a_region_of_parts():
    segment = PILOT.segments[0]
    place = f"{segment.chrom}:{segment.start * 25 + 1}-{segment.end * 25}"
    assert only(place, {"pilot": PILOT}) == ("pilot", (segment,))
    with pytest.raises(InputError, match="no stored region holds all of"):
        windows({"pilot": PILOT}, ASSEMBLY, f"{segment.chrom}:{segment.start * 25 + 1}-{segment.end * 25 + 1}")


def test_a_bed_file(tmp_path):
    bed = tmp_path / "mine.bed"
    bed.write_text("chr20\t100\t130\nchr20\t1000\t1025\n")
    assert only(bed) == ("chr20", (Segment("chr20", 4, 6), Segment("chr20", 40, 41)))
    (window,) = windows(REGIONS, ASSEMBLY, bed)
    assert window.layout.name == "mine"
    chosen = chosen_bins(CHR20, window.layout)
    assert chosen == [(4, 2, 4), (40, 1, 40)]


def test_padding_of_earlier_segments_is_counted():
    layout = Region("two", (Segment("chr20", 0, 10), Segment("chr20", 50, 70)))
    assert chosen_bins(layout, Region("part", (Segment("chr20", 55, 60),))) == [(205, 5, 15)]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("chr99:1-100", "no chromosome 'chr99'"),
        ("20:1-100", "did you mean 'chr20'"),
        ("chr20:0-100", "from 1 to"),
        ("chr20:100-50", "from 1 to"),
        ("chr20:ten-20", "cannot read the place"),
        ("chr7", "no factors or signal of 'chr7'; there is: pilot, chr20"),
    ],
)
def test_what_is_wrong_is_said(place, message):
    with pytest.raises(InputError, match=message):
        windows(REGIONS, ASSEMBLY, place)


def test_lists_of_places():
    assert as_list("chr20:1,000,000-1,200,000,chr21") == ["chr20:1,000,000-1,200,000", "chr21"]
    assert as_list("pilot,chr21:5-1,000,200") == ["pilot", "chr21:5-1,000,200"]
    assert as_list("E003,017,003") == ["E003", "017", "003"]
