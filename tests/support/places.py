"""The published grid of stand-ins, and distances, without the database: what anybody can work out at home."""

import hashlib
import math
from dataclasses import dataclass

Place = tuple[float, float]

RADIUS_MILES = 3958.7613
METERS_PER_MILE = 1609.344


def miles(here: Place, there: Place) -> float:
    """Return the great-circle distance of two places in statute miles."""
    up, across = math.radians(there[0] - here[0]), math.radians(there[1] - here[1])
    root = math.sin(up / 2) ** 2 + math.cos(math.radians(here[0])) * math.cos(math.radians(there[0])) * (
        math.sin(across / 2) ** 2
    )
    return 2 * RADIUS_MILES * math.asin(min(1.0, math.sqrt(root)))


def meters(here: Place, there: Place) -> float:
    """Return the great-circle distance of two places in metres."""
    return miles(here, there) * METERS_PER_MILE


@dataclass(frozen=True)
class Cell:
    """A cell of the grid, `across` of its band; the grid of CITY_ONLY has 10 bands in a degree, the other one 100."""

    bands_per_degree: int
    band: int
    across: int

    @property
    def cells(self) -> int:
        """How many cells the band has."""
        middle = math.radians((self.band + 0.5) / self.bands_per_degree - 90)
        return max(1, math.floor(360 * self.bands_per_degree * math.cos(middle)))

    def at(self, east: float, north: float) -> Place:
        """Return the place at these parts, from 0 to 1, of the cell's width and height."""
        return (
            (self.band + north) / self.bands_per_degree - 90,
            (self.across + east) * 360 / self.cells - 180,
        )

    @property
    def centre(self) -> Place:
        """The middle of the cell."""
        return self.at(0.5, 0.5)

    def stand_in(self, user_id: str) -> Place:
        """Return the point that stands for a person who is in the cell."""
        noise = hashlib.sha256(f"{user_id}/{self.band}/{self.across}".encode()).digest()
        east, north = (int.from_bytes(noise[at : at + 4]) / 2**32 for at in (0, 4))
        return self.at(east, north)


def cell_of(place: Place, *, city_only: bool = False) -> Cell:
    """Return the cell that holds a place."""
    bands = 10 if city_only else 100
    band = min(math.floor((place[0] + 90) * bands), 180 * bands - 1)
    cells = Cell(bands, band, 0).cells
    return Cell(bands, band, min(math.floor((place[1] + 180) / 360 * cells), cells - 1))
