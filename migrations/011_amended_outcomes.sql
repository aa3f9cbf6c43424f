-- An alert whose print was corrected has another price: its outcome is judged from that one.

ALTER TABLE outcomes ADD COLUMN amended_ns bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN outcomes.amended_ns IS 'event time of the newest amendment that was taken; 0 = none';

CREATE FUNCTION amend_outcomes(ids text[], prices double precision[], at_ns bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outcomes AS o SET price = newest.price, amended_ns = newest.at_ns
    FROM (
        SELECT DISTINCT ON (told.id) told.id, told.price, told.at_ns
        FROM unnest(ids, prices, at_ns) AS told (id, price, at_ns)
        ORDER BY told.id, told.at_ns DESC
    ) AS newest
    WHERE o.alert_id = newest.id AND newest.at_ns > o.amended_ns;
    PERFORM judge_outcomes(ids);
END
$$;
