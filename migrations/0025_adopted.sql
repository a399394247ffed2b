-- Swarm services that an app may take over, or has: `{"shop_web": "<engine id>"}`. Beside the spec, because a spec only
-- says a name, and who may write a spec may not take over what he likes: the id was permitted by an administrator.
ALTER TABLE apps ADD COLUMN adopted jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(adopted) = 'object');
