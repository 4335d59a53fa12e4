-- name: calendars
SELECT name, days, hours, holidays FROM calendar ORDER BY name

-- name: years
SELECT year, source, off, work, shipped FROM holiday_year ORDER BY year

-- name: store_year
INSERT INTO holiday_year (year, source, off, work, shipped)
VALUES (%(year)s, %(source)s, %(off)s, %(work)s, %(shipped)s)
ON CONFLICT (year) DO UPDATE SET source = excluded.source, off = excluded.off, work = excluded.work,
    shipped = excluded.shipped
-- What a person brought stays when a release ships the same year.
WHERE NOT excluded.shipped OR holiday_year.shipped
