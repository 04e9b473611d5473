"""How far back somebody looks who carries on from the last row that he saw.

On PostgreSQL a row takes its number before its transaction commits, so one with a lower number may
become visible after one with a higher. Our transactions take milliseconds: of rows so many numbers
back, none is still to come.
"""

from typing import Final

LATE_NUMBERS: Final = 1000
